using Pollux.DataPlane.Core.Checkers;
using Pollux.DataPlane.Core.Roles;

namespace Pollux.Tests.Unit.Checkers;

/// <summary>When failures of a checker count, and when something is asked for.</summary>
public sealed class CheckerCourseTests
{
    private static readonly CheckerSpec Spec = new("web", CheckerKind.Tcp, "192.0.2.1:80", 1_000, 500, 3, 10_000, CheckAction.Restart);
    private static readonly CheckResult Failed = CheckResult.Failed("no answer");
    private readonly CheckerCourse _course = new(Spec, 0);
    private long _nowMs;

    [Fact]
    public void Nothing_is_tested_before_the_vm_runs_and_the_first_test_comes_at_once()
    {
        Assert.Null(_course.DueMs);
        Assert.Equal(CheckerState.Resting, _course.View.State);
        _course.Run(5_000);
        Assert.Equal((5_000L, CheckerState.Grace), (_course.DueMs, _course.View.State));
    }

    [Fact]
    public void Failures_in_the_grace_do_not_count_and_a_success_in_it_does()
    {
        _course.Run(0);
        for (var times = 0; times < 9; times++)
            Assert.Null(Take(Failed));
        Assert.Equal((CheckerState.Grace, 0, "no answer"), (_course.View.State, _course.View.FailuresInRow, _course.View.Reason));
        Take(CheckResult.Well);
        Assert.Equal(CheckerState.Well, _course.View.State);
    }

    [Fact]
    public void The_third_failure_in_a_row_asks_and_the_sixth_asks_again_since_the_first()
    {
        Begin();
        Assert.Null(Take(Failed));
        var since = _nowMs;
        Assert.Null(Take(Failed));
        Assert.Equal(CheckerState.Failing, _course.View.State);
        Assert.Equal(new RoleInput.Unwell("web", CheckAction.Restart, "no answer"), Take(Failed));
        Assert.Equal((CheckerState.Unwell, since, 3), (_course.View.State, _course.View.SinceMs, _course.View.FailuresInRow));
        Assert.Null(Take(Failed));
        Assert.Null(Take(Failed));
        Assert.NotNull(Take(Failed));
        Assert.Equal(since, _course.View.SinceMs);
    }

    [Fact]
    public void A_success_ends_the_row_and_well_counts_from_the_first_success()
    {
        Begin();
        Take(Failed);
        Take(Failed);
        Take(CheckResult.Well);
        var since = _nowMs;
        Take(CheckResult.Well);
        Assert.Equal((CheckerState.Well, since, 0), (_course.View.State, _course.View.SinceMs, _course.View.FailuresInRow));
        Take(Failed);
        Take(Failed);
        Assert.Equal(CheckerState.Failing, _course.View.State);
    }

    [Fact]
    public void A_test_that_could_not_be_made_counts_as_neither()
    {
        Begin();
        Take(Failed);
        Take(Failed);
        for (var times = 0; times < 5; times++)
            Assert.Null(Take(CheckResult.Unable("no channel")));
        Assert.Equal((CheckerState.Unable, "no channel"), (_course.View.State, _course.View.Reason));
        Assert.NotNull(Take(Failed));
    }

    [Fact]
    public void A_rest_forgets_failures_and_results_that_were_under_way_and_only_the_end_of_the_vm_gives_a_new_grace()
    {
        Begin();
        Take(Failed);
        Take(Failed);
        var round = _course.Round;
        _course.Rest(_nowMs, "the peer is lost", ended: false);
        Assert.Null(_course.Take(_nowMs, round, Failed));
        Assert.Equal((CheckerState.Resting, "the peer is lost"), (_course.View.State, _course.View.Reason));
        _course.Run(_nowMs);
        Assert.Null(_course.Take(_nowMs, round, Failed));
        Take(Failed);
        Assert.Equal((CheckerState.Failing, 1), (_course.View.State, _course.View.FailuresInRow));

        _course.Rest(_nowMs, "it ended", ended: true);
        _course.Run(_nowMs);
        Take(Failed);
        Assert.Equal(CheckerState.Grace, _course.View.State);
    }

    [Theory]
    [InlineData("tcp", "web.example:80", "restart", true)]
    [InlineData("tcp", "[fe80::1%eth0]:80", "move", true)]
    [InlineData("tcp", "fe80::1:80", "move", false)]
    [InlineData("tcp", "web:0", "restart", false)]
    [InlineData("tcp", "web", "restart", false)]
    [InlineData("ping", "192.0.2.1", "restart", true)]
    [InlineData("ping", "-f 192.0.2.1", "restart", false)]
    [InlineData("guest", null, "restart", true)]
    [InlineData("script", "db.sh", "restart", true)]
    [InlineData("script", "../db.sh", "restart", false)]
    [InlineData("script", ".hidden", "restart", false)]
    [InlineData("http", "web", "restart", false)]
    [InlineData("guest", null, "reboot", false)]
    public void What_a_host_cannot_test_it_names(string kind, string? target, string then, bool known)
    {
        var spec = CheckerSpec.Read("x", kind, target, 1_000, 500, 1, 0, then, out var why);
        Assert.Equal((known, known), (spec is not null, why.Length == 0));
        Assert.Null(CheckerSpec.Read("x", kind, target, 1_000, 500, 0, 0, then, out _));
        Assert.Null(CheckerSpec.Read("x", kind, target, 1, 500, 1, 0, then, out _));
    }

    private void Begin()
    {
        _course.Run(0);
        _nowMs = Spec.GraceMs;
    }

    private RoleInput.Unwell? Take(CheckResult result) => _course.Take(_nowMs += 1_000, _course.Round, result);
}
