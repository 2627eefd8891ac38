"""A cluster on AWS from one file of settings: what `ray up` reads, what its machines may do, and what it costs."""
