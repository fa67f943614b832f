"""Models in service: queue, batches, runs and answers, independent of the front end that the requests came by."""
