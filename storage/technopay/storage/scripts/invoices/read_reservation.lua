-- read_reservation(referred) no-writes
--
-- Read who has a reference: '<invoice> <operation> <fingerprint>', '' for nobody.
--
-- Returns {code, now, '', reservation}

return {'ok', at, '', redis.call('HGET', key('references'), referred) or ''}
