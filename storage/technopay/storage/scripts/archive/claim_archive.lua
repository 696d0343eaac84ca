-- claim_archive(archived_to, owner) allow-oom
--
-- Claim the archive of the partition for one archiver. If the archive has all entries, and the store has recorded that,
-- nothing is written.
--
-- archived_to  the last entry that the archive has; '0-0' if it has none, '' if that is unknown
--
-- Returns {code, now, claim, archived_to, chain, trimmed_to}: the last entry that was recorded as archived, the digest of the
-- chain up to it, and the last entry that left the store, '' if none was; 'nothing', or 'busy' while another process archives.

local recorded, chain, archiver, claimed_until, trimmed_to =
    fields('archive', nil, 'archived_to', 'chain', 'owner', 'claimed_until', 'trimmed_to')
if position() == archived_to and archived_to == (recorded or '0-0') then
    return {'nothing', at, ''}
end
local remaining_ms = (tonumber(claimed_until or '') or 0) - now
if remaining_ms > 0 and remaining_ms <= ARCHIVE_MS and archiver ~= owner then
    return {'busy', at, ''}
end
local claim = int(redis.call('HINCRBY', key('archive'), 'claim', 1))
redis.call('HSET', key('archive'), 'owner', owner, 'claimed_until', int(now + ARCHIVE_MS))
return {'ok', at, claim, recorded or '', chain or '', trimmed_to or ''}
