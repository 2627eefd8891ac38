"""The gateway of the chat service: authentication, admission, request validation and the access log."""
