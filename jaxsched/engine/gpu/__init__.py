"""Operations of jax that are one kernel on an NVIDIA GPU."""
