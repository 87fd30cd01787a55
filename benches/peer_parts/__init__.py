"""Parts of `benches/peers.py`: processes, chat requests, the two programs' measurements, the report."""
