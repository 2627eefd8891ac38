"""The chat page, and what it asks of the server: tokens counted, text taken out of documents."""
