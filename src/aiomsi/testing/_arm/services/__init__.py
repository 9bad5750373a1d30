"""The responses that single resource providers of the embedded ARM give, beyond storing documents."""
