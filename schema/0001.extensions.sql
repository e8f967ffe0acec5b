-- The two extensions of the contract. `public` is named because yoyo's session looks into kapman_meta first.
CREATE EXTENSION IF NOT EXISTS timescaledb WITH SCHEMA public;
CREATE EXTENSION IF NOT EXISTS "uuid-ossp" WITH SCHEMA public;
