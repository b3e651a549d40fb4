"""Public traces, fetched once and checked."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import platformdirs

from jaxsched._lib.registry import Registry


class Source(NamedTuple):
    """Where a public trace comes from.

    Attributes:
      url: of a file in a format that :func:`read` knows, at a fixed revision.
      sha256: of that file, in hexadecimal.
      licence: its terms, and what to cite.
    """

    url: str
    sha256: str
    licence: str


_GITHUB = "https://raw.githubusercontent.com"
_AZURE = f"{_GITHUB}/Azure/AzurePublicDataset/b469a113cedca53ddc3bdea71a143dc4b7d8700c/data"
_MOONCAKE = f"{_GITHUB}/kvcache-ai/Mooncake/3b5a594133958449a1feaf1c9e0fc1b553e34a28"
_VIDUR = f"{_GITHUB}/microsoft/vidur/7d47513363ec447a741ac5e47241580b47724fbf/data/processed_traces"
_AZURE_LICENCE = "CC-BY 4.0; cite Patel et al., Splitwise, ISCA 2024"

#: What :func:`download` knows. Add entries for sources, or mirrors, of your own.
SOURCES: Registry[Source] = Registry(
    "trace",
    {
        "arxiv_summarization": Source(
            f"{_VIDUR}/arxiv_summarization_stats_llama2_tokenizer_filtered_v2.csv",
            "9d3580538d915ca75e4aaaa54590b42dbb17abc6d74c8913310cf07c232adcdc",
            "MIT, Microsoft Corporation; cite Agrawal et al., Vidur, MLSys 2024",
        ),
        "azure2023_code": Source(
            f"{_AZURE}/AzureLLMInferenceTrace_code.csv",
            "54e9a6d2a4bd06ba1e060304b900abbc74cbea53de96506e60fe5bb4f2277fb6",
            _AZURE_LICENCE,
        ),
        "azure2023_conv": Source(
            f"{_AZURE}/AzureLLMInferenceTrace_conv.csv",
            "2f1e5b666d4e3055fdbba98598ce2ec307767b9064e03e2fa46676dbcc7d0bf8",
            _AZURE_LICENCE,
        ),
        "mooncake_conversation": Source(
            f"{_MOONCAKE}/FAST25-release/traces/conversation_trace.jsonl",
            "b8cbb061a85206d729d91cdc2981f43c9e0d99209dce588d3af5f7934408b9df",
            "Apache-2.0; cite Qin et al., Mooncake, FAST 2025",
        ),
    },
)


def download(name: str, cache_dir: str | os.PathLike[str] | None = None) -> Path:
    """Fetch a public trace, unless an intact copy is in the cache, and check its sha256.

    Args:
      name: a key of ``SOURCES``.
      cache_dir: where copies are kept; by default the user's cache folder.

    Returns:
      The path of the file, for :func:`read` and :func:`load`.

    Raises:
      ValueError: there is no such trace, or what came is not what the checksum promises.
      ImportError: pooch is not installed.
      OSError: the source cannot be reached.

    Example:
      >>> import jaxsched as js
      >>> sorted(js.traces.SOURCES)
      ['arxiv_summarization', 'azure2023_code', 'azure2023_conv', 'mooncake_conversation']
    """
    source = SOURCES[name]
    try:
        import pooch
    except ImportError as error:
        raise ImportError(
            'downloading traces needs pooch: pip install "jaxsched[traces]"'
        ) from error
    folder = Path(cache_dir or platformdirs.user_cache_path("jaxsched") / "traces")
    return Path(
        pooch.retrieve(
            source.url,
            known_hash=f"sha256:{source.sha256}",
            fname=name + Path(source.url).suffix,
            path=folder,
        )
    )
