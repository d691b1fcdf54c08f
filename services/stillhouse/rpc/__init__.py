"""How operations are run and served: Jobs, gRPC servers, channels, error mapping, logs; knows no service and no role."""
