-- KNOWN-BAD: frees a lease whoever holds it. KEYS: lease.
return redis.call('DEL', KEYS[1])
