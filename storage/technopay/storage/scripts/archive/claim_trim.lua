-- claim_trim(keep_ms, is_wanted, process, webhook_ids...) allow-oom
--
-- Claim the journal of the partition for one process that trims it, or keep the claim.
--
-- keep_ms    for how long entries stay in the store
-- is_wanted  '1' to claim it also if no entry can leave it; process: the name of the caller
--
-- Returns {code, now, claim, last entry that can leave, archived_to and chain as recorded, trimmed_to, checkpoint,
-- dropped_to}, '' for what is unknown; 'nothing' if no entry can leave, 'busy' while another process has it

local archived_to, chain, trimmed_to, checkpoint, dropped_to, claim, trimmer, claimed_until = fields('archive', nil,
    'archived_to', 'chain', 'trimmed_to', 'checkpoint', 'dropped_to', 'trim_claim', 'trimmer', 'trimming_until')
local bound = trimmable_to(keep_ms, webhook_ids)
local oldest = redis.call('XRANGE', journal, '-', '+', 'COUNT', 2)
local first = oldest[1]
if first and first[1] == trimmed_to then
    first = oldest[2]
end
if is_wanted == '0' and trimmed_to == dropped_to and (not first or is_after(first[1], bound)) then
    return {'nothing', at, ''}
end
local remaining_ms = (tonumber(claimed_until or '') or 0) - now
local is_claimed = remaining_ms > 0 and remaining_ms <= ARCHIVE_MS
if is_claimed and trimmer ~= process then
    return {'busy', at, ''}
end
if not is_claimed or trimmer ~= process then
    claim = int(redis.call('HINCRBY', key('archive'), 'trim_claim', 1))
end
redis.call('HSET', key('archive'), 'trimmer', process, 'trimming_until', int(now + ARCHIVE_MS))
return {'ok', at, claim, bound, archived_to or '', chain or '', trimmed_to or '',
    checkpoint or '', dropped_to or ''}
