# Builds ./build/<configuration>/ict and runs tests, benchmarks, ablations, tables and figures.  `make help` lists targets.
