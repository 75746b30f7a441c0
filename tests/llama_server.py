"""llama.cpp's OpenAI-compatible server on the files of gguf_judge.py: llama_server.py FOLDER; ends with its stdin."""

import sys
from pathlib import Path

import xllamacpp
from gguf_judge import EYES, MODEL

parameters = xllamacpp.CommonParams()
parameters.model.path = str(Path(sys.argv[1]) / MODEL)
parameters.mmproj.path = str(Path(sys.argv[1]) / EYES)
parameters.n_ctx, parameters.n_parallel, parameters.cpuparams.n_threads = 8192, 2, 1
parameters.cache_type_k = parameters.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32  # half as it comes
parameters.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
parameters.hostnames = ["127.0.0.1"]
parameters.port = 0
server = xllamacpp.Server(parameters)
print(server.listening_address, flush=True)
sys.stdin.read()
