-- 0001 up

CREATE TABLE user_invitations (
    id CHAR(32) NOT NULL
    tenant_id VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
    invited_by_id CHAR(32)
    accepted_by_id CHAR(32)
    version INTEGER NOT NULL DEFAULT 1
    number INTEGER NOT NULL DEFAULT 1
    link_number INTEGER NOT NULL DEFAULT 1
    email VARCHAR(254) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
    email_key VARCHAR(254) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
    `role` VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL
    token_hash VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL
    token_nonce VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL
    previous_token_hash VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
    link_shown BOOL NOT NULL
    status VARCHAR(16) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL
    pending_key VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
    inviter_ref VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
    made_for VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
    message TEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
    details JSON
    locale VARCHAR(35) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
    lifetime INTEGER NOT NULL
    expires_at DATETIME(6) NOT NULL
    accepted_at DATETIME(6)
    reminded_at DATETIME(6)
    link_requested_at DATETIME(6)
    closed_at DATETIME(6)
    created_at DATETIME(6) NOT NULL
    updated_at DATETIME(6) NOT NULL
    PRIMARY KEY (id)
    CONSTRAINT ck_user_invitations_pending_key CHECK ((status = 'pending') = (pending_key IS NOT NULL))
    CONSTRAINT ck_user_invitations_status CHECK (status IN ('pending', 'accepted', 'declined', 'revoked', 'expired'))
    CONSTRAINT fk_user_invitations_accepted_by_id FOREIGN KEY(accepted_by_id) REFERENCES users (id) ON DELETE SET NULL
    CONSTRAINT fk_user_invitations_invited_by_id FOREIGN KEY(invited_by_id) REFERENCES users (id) ON DELETE SET NULL
    CONSTRAINT uq_user_invitations_pending_key UNIQUE (pending_key)
    CONSTRAINT uq_user_invitations_token_hash UNIQUE (token_hash)
);

CREATE INDEX ix_user_invitations_accepted_by_id ON user_invitations (accepted_by_id);

CREATE INDEX ix_user_invitations_closed_at ON user_invitations (closed_at);

CREATE INDEX ix_user_invitations_invited_by_id ON user_invitations (invited_by_id);

CREATE INDEX ix_user_invitations_previous_token_hash ON user_invitations (previous_token_hash);

CREATE INDEX ix_user_invitations_status_expires_at ON user_invitations (status, expires_at);

CREATE INDEX ix_user_invitations_tenant_id_created_at ON user_invitations (tenant_id, created_at, id);

CREATE INDEX ix_user_invitations_tenant_id_email_key ON user_invitations (tenant_id, email_key);

CREATE INDEX ix_user_invitations_tenant_id_status ON user_invitations (tenant_id, status, expires_at);

-- 0001 down

DROP TABLE user_invitations;

-- 0002 up

CREATE TABLE user_invitation_events (
    id CHAR(32) NOT NULL
    tenant_id VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
    actor_id CHAR(32)
    invitation_id CHAR(32) NOT NULL
    type VARCHAR(32) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL
    at DATETIME(6) NOT NULL
    remote_addr VARCHAR(45) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
    user_agent VARCHAR(512) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
    details JSON
    personal_at DATETIME(6)
    repeat_key VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
    times INTEGER NOT NULL DEFAULT 1
    last_at DATETIME(6)
    PRIMARY KEY (id)
    CONSTRAINT fk_user_invitation_events_invitation_id FOREIGN KEY(invitation_id) REFERENCES user_invitations (id) ON DELETE CASCADE
    CONSTRAINT uq_user_invitation_events_repeat_key UNIQUE (repeat_key)
);

CREATE INDEX ix_user_invitation_events_invitation_id_at ON user_invitation_events (invitation_id, at, id);

CREATE INDEX ix_user_invitation_events_personal_at ON user_invitation_events (personal_at);

-- 0002 down

DROP TABLE user_invitation_events;

-- 0003 up

CREATE TABLE user_invitation_deliveries (
    id CHAR(32) NOT NULL
    invitation_id CHAR(32) NOT NULL
    version INTEGER NOT NULL DEFAULT 1
    link_number INTEGER NOT NULL DEFAULT 1
    kind VARCHAR(32) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL
    state VARCHAR(16) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL
    maker VARCHAR(33) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
    fence CHAR(32)
    attempts INTEGER NOT NULL
    next_attempt_at DATETIME(6)
    last_attempt_at DATETIME(6)
    leased_until DATETIME(6)
    last_error VARCHAR(200) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
    sent_at DATETIME(6)
    created_at DATETIME(6) NOT NULL
    PRIMARY KEY (id)
    CONSTRAINT ck_user_invitation_deliveries_leased_until CHECK ((state = 'sending') = (leased_until IS NOT NULL))
    CONSTRAINT ck_user_invitation_deliveries_next_attempt_at CHECK ((state = 'queued') = (next_attempt_at IS NOT NULL))
    CONSTRAINT ck_user_invitation_deliveries_state CHECK (state IN ('queued', 'sending', 'sent', 'deferred', 'delivered', 'bounced', 'complained', 'failed', 'cancelled'))
    CONSTRAINT fk_user_invitation_deliveries_invitation_id FOREIGN KEY(invitation_id) REFERENCES user_invitations (id) ON DELETE CASCADE
);

CREATE INDEX ix_user_invitation_deliveries_invitation_id ON user_invitation_deliveries (invitation_id, version);

CREATE INDEX ix_user_invitation_deliveries_leased_until ON user_invitation_deliveries (state, leased_until);

CREATE INDEX ix_user_invitation_deliveries_next_attempt_at ON user_invitation_deliveries (state, next_attempt_at);

-- 0003 down

DROP TABLE user_invitation_deliveries;

-- 0004 up

CREATE TABLE user_invitation_suppressions (
    id CHAR(32) NOT NULL
    tenant_id VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
    pseudonym VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL
    reason VARCHAR(16) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL
    confirmed_by CHAR(32)
    created_at DATETIME(6) NOT NULL
    PRIMARY KEY (id)
    CONSTRAINT ck_user_invitation_suppressions_reason CHECK (reason IN ('never_again', 'reported', 'bounced', 'complained'))
    CONSTRAINT uq_user_invitation_suppressions_pseudonym UNIQUE (pseudonym, reason)
);

CREATE INDEX ix_user_invitation_suppressions_tenant_id ON user_invitation_suppressions (tenant_id, created_at);

-- 0004 down

DROP TABLE user_invitation_suppressions;

-- 0005 up

CREATE TABLE user_invitation_requests (
    key_hash VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL
    body_hash VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL
    status INTEGER NOT NULL
    answer JSON
    expires_at DATETIME(6) NOT NULL
    PRIMARY KEY (key_hash)
);

CREATE INDEX ix_user_invitation_requests_expires_at ON user_invitation_requests (expires_at);

-- 0005 down

DROP TABLE user_invitation_requests;

-- 0006 up

CREATE TABLE user_invitation_turns (
    id SMALLINT NOT NULL
    PRIMARY KEY (id)
);

-- 0006 down

DROP TABLE user_invitation_turns;
