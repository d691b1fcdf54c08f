"""scorer: a role's metric, models and guards over gRPC, one record or a stream."""
