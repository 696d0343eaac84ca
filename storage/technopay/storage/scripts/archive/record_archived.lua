-- record_archived(claim, entry_id, chain) allow-oom
--
-- Record up to which entry the journal is archived, and keep the claim; without an entry, give the claim up.
--
-- Returns {code, now, ''}: 'ok', or 'claim_lost'

if fields('archive', nil, 'claim') ~= claim then
    return {'claim_lost', at, ''}
elseif entry_id == '' then
    redis.call('HDEL', key('archive'), 'owner', 'claimed_until')
else
    redis.call('HSET', key('archive'), 'archived_to', entry_id, 'chain', chain, 'claimed_until', int(now + ARCHIVE_MS))
end
return {'ok', at, ''}
