"""Rules and settings for the engines that serve: vLLM and SGLang."""
