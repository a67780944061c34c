"""A GGUF file in llama.cpp's own server (xllamacpp), in this process."""

from __future__ import annotations

from typing import Any

from executor.errors import ServiceError
from executor.extras import need
from executor.hardware import usable_cores
from executor.serve.launch import Target


def start(target: Target, key: str | None) -> Any:
    """The server, listening. Raises UserError without xllamacpp, ServiceError where it cannot load the file."""
    need("xllamacpp", "llama.cpp (xllamacpp)", "serving a GGUF file", extra="serve")
    import xllamacpp  # type: ignore[import-untyped]

    params = xllamacpp.CommonParams()
    params.model.path, params.n_ctx, params.n_parallel = target.path, target.context, 1
    params.hostnames, params.port = [target.host], target.port
    params.api_keys, params.model_alias = ([key] if key else []), {target.name}
    params.use_jinja, params.warmup = True, False
    params.cpuparams.n_threads = target.threads or usable_cores()
    try:
        return xllamacpp.Server(params)
    except Exception as error:  # the binding raises plain exceptions
        what = f"llama.cpp cannot serve the file: {' '.join(str(error).split())[:200]}"
        raise ServiceError(what, target.path, "Check the file and the port, or export it anew.") from error
