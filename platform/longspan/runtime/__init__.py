"""The Ray cluster of a job: session, pools of nodes, capacity, priorities, and lines of workers in the driver's log."""
