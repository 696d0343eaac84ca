-- ownership: whose records a read shows.

-- Whether a record exists for a user, or for an operator, whose id is ''. Only the owner is read before: a request for
-- what belongs to somebody else takes as long as one for what does not exist.
local function is_shown_to(user_id, kind, id)
    local owner = fields(kind, id, 'user')
    return owner and (user_id == '' or owner == user_id)
end
