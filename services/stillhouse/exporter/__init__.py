"""Export: base and adapter become gated GGUF files, a Modelfile and a model card.

`export` does the work; `servicer` and `__main__` are the only modules that know of rpc. Torch and llama.cpp never share
a process: llama.cpp runs in `llama_probe`, a subprocess.
"""
