"""`python -m model_engine_model_server`: load the bundle that the environment names, then serve it."""

from model_engine_model_server.server import main

if __name__ == "__main__":
    main()
