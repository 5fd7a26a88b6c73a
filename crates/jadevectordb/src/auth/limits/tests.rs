use super::*;

fn address(last: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, last])
}

#[test]
fn logins_have_a_burst_of_five_and_one_more_every_twelve_seconds() {
    let limiter = Limiter::new(RateLimits::default());
    for _ in 0..5 {
        assert_eq!(limiter.login(address(1), 1_000), Ok(()));
    }
    assert_eq!(limiter.login(address(1), 1_000), Err(Refusal::TooMany { retry_after_s: 12 }));
    assert_eq!(limiter.login(address(2), 1_000), Ok(()), "another address has its own bucket");
    assert_eq!(limiter.login(address(1), 12_999), Err(Refusal::TooMany { retry_after_s: 1 }));
    assert_eq!(limiter.login(address(1), 13_000), Ok(()));
    assert!(limiter.login(address(1), 13_000).is_err());
}

#[test]
fn a_long_pause_gives_back_the_burst_and_no_more() {
    let limiter = Limiter::new(RateLimits::default());
    for _ in 0..5 {
        assert_eq!(limiter.login(address(1), 0), Ok(()));
    }
    let later = 10_000_000;
    for _ in 0..5 {
        assert_eq!(limiter.login(address(1), later), Ok(()));
    }
    assert!(limiter.login(address(1), later).is_err());
}

#[test]
fn registrations_and_forgotten_passwords_are_three_an_hour() {
    let limiter = Limiter::new(RateLimits::default());
    for _ in 0..3 {
        assert_eq!(limiter.register(address(1), 0), Ok(()));
        assert_eq!(limiter.forgot_password("ada", 0), Ok(()));
    }
    assert_eq!(limiter.register(address(1), 0), Err(Refusal::TooMany { retry_after_s: 1_200 }));
    assert_eq!(limiter.forgot_password("ada", 0), Err(Refusal::TooMany { retry_after_s: 1_200 }));
    assert_eq!(limiter.forgot_password("bob", 0), Ok(()));
}

#[test]
fn ten_failed_logins_block_the_address_for_an_hour() {
    let limiter = Limiter::new(RateLimits::default());
    for failure in 1..10 {
        assert!(!limiter.login_failed(address(1), failure), "failure {failure}");
    }
    assert!(limiter.login_failed(address(1), 10));
    assert_eq!(limiter.login(address(1), 10), Err(Refusal::Blocked { retry_after_s: 3_600 }));
    assert_eq!(limiter.login(address(1), 3_600_010), Ok(()));
}

#[test]
fn failures_of_another_period_do_not_count() {
    let limiter = Limiter::new(RateLimits::default());
    for _ in 0..9 {
        assert!(!limiter.login_failed(address(1), 0));
    }
    assert!(!limiter.login_failed(address(1), 600_000));
    assert_eq!(limiter.login(address(1), 600_000), Ok(()));
}

#[test]
fn five_wrong_passwords_lock_the_account_for_a_quarter_of_an_hour() {
    let limiter = Limiter::new(RateLimits::default());
    for _ in 0..4 {
        assert!(!limiter.wrong_password("ada", 0));
    }
    limiter.forgive("ada");
    for _ in 0..4 {
        assert!(!limiter.wrong_password("ada", 0));
    }
    assert!(!limiter.is_locked("ada", 0));
    assert!(limiter.wrong_password("ada", 0));
    assert!(limiter.is_locked("ada", 899_999));
    assert_eq!(limiter.locked_accounts(0), 1);
    assert!(!limiter.is_locked("ada", 900_000));
    assert!(!limiter.is_locked("bob", 0));
}

#[test]
fn neighbours_in_one_ipv6_network_are_one_client() {
    let limiter = Limiter::new(RateLimits::default());
    for last in 1..=5 {
        assert_eq!(limiter.login(format!("2001:db8::{last}").parse().unwrap(), 0), Ok(()));
    }
    assert!(limiter.login("2001:db8::ffff".parse().unwrap(), 0).is_err());
    assert_eq!(limiter.login("2001:db8:0:1::1".parse().unwrap(), 0), Ok(()));
}

#[test]
fn a_flood_of_addresses_does_not_grow_the_tables() {
    let limiter = Limiter::new(RateLimits { entries_max: 100, ..RateLimits::default() });
    for _ in 0..5 {
        assert_eq!(limiter.login(address(7), 0), Ok(()));
    }
    for number in 0..5_000_u32 {
        let _ = limiter.login(IpAddr::from(number.to_be_bytes()), 0);
    }
    assert_eq!(limiter.tables.lock().logins.len(), 100);
    assert!(limiter.login(address(7), 0).is_err(), "the busiest client is not forgotten for idle ones");
}
