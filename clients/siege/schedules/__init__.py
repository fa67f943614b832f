"""The schedules beyond a constant rate: random gaps, rates that vary, arrivals that were recorded."""
