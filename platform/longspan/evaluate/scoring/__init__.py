"""Scoring: losses of given tokens and likelihoods of given continuations, by a torch model on a pool of actors."""
