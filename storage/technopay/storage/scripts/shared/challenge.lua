-- challenge: the state of a payment's code, in one field that is emptied when the code has done its work.
--
-- '<method> <issue> <attempts> <resends> <expires_at> <payable_until> <wrong_attempts> <key>': where the code was sent, its
-- number, how often it can still be wrong and still be sent again, when it and the invoice expire, the operations that
-- brought a wrong code, with commas between them, and the id of the key that its codes are derived from. Up to schema 4
-- there was no key: such a challenge belongs to the secret that the store was bound to first.

local function pack_challenge(...)
    return table.concat({...}, ' ')
end

-- method, issue, attempts, resends, expires_at, payable_until, wrong_attempts, key
local function unpack_challenge(challenge)
    return string.match(challenge, '^(%a+) (%d+) (%d+) (%d+) (%d+) (%d+) (%S*) ?(%S*)$')
end

-- A payment past its code's expiry is expired, whoever looks first; the agenda may come later.
local function is_expired(challenge)
    local _, _, _, _, expires_at = unpack_challenge(challenge)
    return now >= tonumber(expires_at)
end
