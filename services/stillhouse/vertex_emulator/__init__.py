"""A server that speaks Vertex AI's prediction protocol and answers by script: for demos, tests and benchmarks."""
