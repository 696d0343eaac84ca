-- read_reservation(referred) no-writes
--
-- Read the reservation of a reference: '<invoice> <operation> <fingerprint>', '' for none.
--
-- Returns {code, now, '', reservation}

return {'ok', at, '', redis.call('HGET', key('references'), referred) or ''}
