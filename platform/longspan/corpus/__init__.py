"""Raw corpora: which objects they are, and the documents in them."""
