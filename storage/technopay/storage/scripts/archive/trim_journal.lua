-- trim_journal(claim, entry_id, checkpoint, keep_ms, limit, webhook_ids...) allow-oom
--
-- Let entries before a checkpoint leave the store, at most about `limit` of them. That of the checkpoint itself stays.
--
-- entry_id    the last entry of the checkpoint; checkpoint: its digest
--
-- For keep_ms and webhook_ids see claim_trim.
--
-- Returns {code, now, ''}: 'ok', 'more' while entries are left, 'claim_lost', or 'needed' if an entry cannot leave

local current, trimmed_to = fields('archive', nil, 'trim_claim', 'trimmed_to')
if current ~= claim then
    return {'claim_lost', at, ''}
end
if is_after(entry_id, trimmable_to(keep_ms, webhook_ids)) or trimmed_to and is_after(trimmed_to, entry_id)
    or #redis.call('XRANGE', journal, entry_id, entry_id) == 0 then
    return {'needed', at, ''}
end
redis.call('HSET', key('archive'), 'trimmed_to', entry_id, 'checkpoint', checkpoint,
    'trimming_until', int(now + ARCHIVE_MS))
-- By whole nodes of the stream, as long as there are any; then what is left in the last one.
if redis.call('XTRIM', journal, 'MINID', '~', entry_id, 'LIMIT', limit) > 0 then
    return {'more', at, ''}
end
redis.call('XTRIM', journal, 'MINID', entry_id)
return {'ok', at, ''}
