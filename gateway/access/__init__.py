"""Who may ask what of the gateway, how much of it, and until when.

`gate` decides, by `keyring` and `limits`; `hooks` applies it to every request of the application.
Not for the connections themselves, nor for load: that is `gateway.server`.
"""
