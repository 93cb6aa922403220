"""Loads a user's bundle inside a worker and serves it over HTTP.

It runs in the bundle's own environment, whose Python may be another minor version than the platform's: this package
keeps to the syntax of Python 3.10 and to two dependencies, cloudpickle and uvicorn.
"""
