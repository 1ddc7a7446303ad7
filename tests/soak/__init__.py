"""Minutes at full speed on two workers: is the memory flat, is the account exact?"""
