"""The backend that runs workers as processes of this host."""
