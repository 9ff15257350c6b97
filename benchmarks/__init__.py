"""Each target of the public contract, measured with its baseline in the same run. `make bench` runs them all."""
