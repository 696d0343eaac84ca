"""technopay's command: the composition root, which alone sees engine, storage and http."""
