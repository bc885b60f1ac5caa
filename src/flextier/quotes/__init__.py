"""What a run is going to cost: its calls are made on sample rows, and answered in this process."""
