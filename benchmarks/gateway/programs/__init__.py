"""What runs in processes of its own: clients under load, and the services that others have none of.

Those that run in another environment import nothing but it and `timing`.
"""
