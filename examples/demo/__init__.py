"""What the shop is put through: customers, a mail server, processes that are killed, and the account of it all.

None of it is to be copied: the application is in ``examples.shop``.
"""
