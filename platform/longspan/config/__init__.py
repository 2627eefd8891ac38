"""Reading configuration files, whatever they are about."""
