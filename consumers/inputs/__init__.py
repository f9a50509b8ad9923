"""Inputs from strangers, made safe: which addresses may be fetched, how, and which bytes pass."""
