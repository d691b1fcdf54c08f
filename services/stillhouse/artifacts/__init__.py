"""Content-addressed bytes, the manifests that commit them, digests and the answer log; knows no service and no role."""
