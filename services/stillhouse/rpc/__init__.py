"""How operations are run and served: Jobs, gRPC servers, channels, errors, logs; knows no service and no role."""
