using System.Net;
using System.Net.Http.Json;
using Pollux.HostProtocol;

namespace Pollux.Tests.Unit.Gateway;

/// <summary>Policy and placement by command line and API, down to what the hosts' sessions are told; and who asked, in the history.</summary>
public sealed class PolicyApiTests(RunningServer server) : IClassFixture<RunningServer>
{
    [Fact]
    public async Task A_policy_reaches_both_hosts_keeps_what_is_not_named_and_is_shown()
    {
        var (cluster, a, b) = await server.PairAsync();
        using (a)
        using (b)
        {
            await new SessionTests(server).CreateModuleAsync(cluster, a, b);
            var key = $"{cluster}/web";
            Assert.Equal(0, (await server.CommandAsync("module", "policy", key, "--failover", "off", "--restarts", "1", "--restart-window", "2h")).Code);
            Assert.Equal(0, (await server.CommandAsync("module", "policy", key, "--start-at-boot", "off", "--start-priority", "2", "--preferred", "b")).Code);
            var wanted = new ModulePolicyMessage(FailoverOff: true, StaysDownAtBoot: true, 1, 7_200_000, 2);
            await a.ReceiveAsync<DesiredState>(state => state.Modules is [var module] && module.Policy == wanted);
            await b.ReceiveAsync<DesiredState>(state => state.Modules is [var module] && module.Policy == wanted);
            var shown = (await server.CommandAsync("module", "show", key)).Output;
            Assert.Contains("policy: failover OFF, start at boot OFF, 1 restarts in 2 h, start priority 2, preferred primary b", shown, StringComparison.Ordinal);
            Assert.Contains("The operator set: failover off, 1 restarts within 7200 s.", shown, StringComparison.Ordinal);
            Assert.Contains("no preferred primary", (await server.CommandAsync("module", "policy", key, "--preferred", "none")).Output, StringComparison.Ordinal);

            foreach (var (body, code) in new (object, string)[] { (new { restarts = 101 }, "policy.range"), (new { startPriority = 0 }, "policy.range"), (new { preferred = "c" }, "policy.preferred") })
            {
                using var answer = await server.Http.PutAsJsonAsync($"/api/v1/clusters/{cluster}/modules/web/policy", body);
                Assert.Equal((HttpStatusCode.BadRequest, code), (answer.StatusCode, await RunningServer.CodeAsync(answer)));
            }
        }
    }

    [Fact]
    public async Task A_checker_reaches_both_hosts_and_is_shown_with_what_each_of_them_says()
    {
        var (cluster, a, b) = await server.PairAsync();
        using (a)
        using (b)
        {
            await new SessionTests(server).CreateModuleAsync(cluster, a, b, vm: "web");
            var key = $"{cluster}/web";
            Assert.Equal(0, (await server.CommandAsync("module", "checker", "add", key, "http", "--tcp", "192.0.2.1:80", "--every", "5s", "--failures", "2", "--then", "move")).Code);
            var wanted = new CheckerMessage("http", "tcp", "192.0.2.1:80", 5_000, 3_000, 2, 60_000, "move");
            var told = await a.ReceiveAsync<DesiredState>(state => state.Modules is [var module] && module.Checkers.SequenceEqual([wanted]));
            await b.ReceiveAsync<DesiredState>(state => state.Modules is [var module] && module.Checkers.SequenceEqual([wanted]));
            var observed = SessionClient.Observe(told.Modules[0]);
            await a.SendAsync(new ObservedState(told.Version, true,
                [observed with { Checkers = [new ObservedChecker("http", "failing", 1_000, 1, "No connection.", "After 1 more failures.")] }]));
            await b.SendAsync(new ObservedState(told.Version, true, [observed]));
            var shown = "";
            using (var patience = new CancellationTokenSource(TimeSpan.FromSeconds(60)))
            {
                while (!shown.Contains("a: failing", StringComparison.Ordinal) || !shown.Contains("b: NOT TESTED", StringComparison.Ordinal))
                {
                    Assert.False(patience.IsCancellationRequested, shown);
                    shown = (await server.CommandAsync("module", "checker", "list", key)).Output;
                }
            }

            Assert.Contains("1 failures in a row: No connection. After 1 more failures.", shown, StringComparison.Ordinal);
            Assert.Contains("earlier release", shown, StringComparison.Ordinal);

            Assert.Contains("checkers OFF", (await server.CommandAsync("module", "policy", key, "--checkers", "off")).Output, StringComparison.Ordinal);
            await a.ReceiveAsync<DesiredState>(state => state.Modules is [{ Policy.ChecksOff: true }]);
            var refused = await server.CommandAsync("module", "checker", "add", key, "sh", "--script", "../../bin/sh");
            Assert.Equal(1, refused.Code);
            Assert.Contains("checker.target", refused.Error, StringComparison.Ordinal);
            Assert.Equal(0, (await server.CommandAsync("module", "checker", "remove", key, "http")).Code);
            Assert.Contains("checker.unknown", (await server.CommandAsync("module", "checker", "remove", key, "http")).Error, StringComparison.Ordinal);
            await a.ReceiveAsync<DesiredState>(state => state.Modules is [{ Checkers.IsEmpty: true }]);
            Assert.Contains("The operator removed the checker http.", (await server.CommandAsync("module", "show", key)).Output, StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task A_start_on_a_named_host_is_told_to_both_hosts_and_a_full_resync_to_the_primary()
    {
        var (cluster, a, b) = await server.PairAsync();
        using (a)
        using (b)
        {
            var record = await new SessionTests(server).CreateModuleAsync(cluster, a, b);
            var key = $"{cluster}/web";
            var refused = await server.CommandAsync("module", "prim", key, "--host", "b");
            Assert.Equal(1, refused.Code);
            Assert.Contains("place.not-in-sync", refused.Error, StringComparison.Ordinal);
            Assert.Equal(0, (await server.CommandAsync("module", "second", key, "--host", "b")).Code);
            var told = await b.ReceiveAsync<DesiredState>(state => state.Modules is [{ Run: true }]);
            Assert.Equal((a.Host, record.Epoch, true), (told.Modules[0].WantedPrimary, told.Modules[0].WantedEpoch, told.Modules[0].Starts > 0));

            await a.SendAsync(new ArbitrationRequest(Guid.NewGuid(), key, record.Incarnation, record.Epoch, "takeover", a.Host, b.Host, null));
            Assert.Equal("granted", (await a.ReceiveAsync<ArbitrationAnswer>()).Outcome);
            Assert.Equal(0, (await server.CommandAsync("module", "second", key, "--full")).Code);
            told = await a.ReceiveAsync<DesiredState>(state => state.Modules is [{ Command: not null }]);
            Assert.Equal((ModuleCommand.FullResync, null), (told.Modules[0].Command!.Kind, told.Modules[0].WantedPrimary));
        }
    }

    [Fact]
    public async Task An_operators_own_token_names_its_operator_in_the_history_until_it_is_taken_away()
    {
        var (cluster, a, b) = await server.PairAsync();
        using (a)
        using (b)
        {
            await new SessionTests(server).CreateModuleAsync(cluster, a, b);
            var issued = await server.CommandAsync("operator-token", "alice", "--data", server.Data);
            Assert.Equal(0, issued.Code);
            using var http = server.Client(issued.Output.Trim());
            (await http.PostAsync($"/api/v1/clusters/{cluster}/modules/web/start", null)).EnsureSuccessStatusCode();
            using (var refused = await http.PostAsync($"/api/v1/clusters/{cluster}/modules/web/swap", null))
                Assert.Equal(HttpStatusCode.Conflict, refused.StatusCode);
            var shown = (await server.CommandAsync("module", "show", $"{cluster}/web")).Output;
            Assert.Contains("Operator alice wants the module to run.", shown, StringComparison.Ordinal);
            Assert.Contains("Operator alice asked for: swap. Refused:", shown, StringComparison.Ordinal);

            File.Delete(Path.Combine(server.Data, "operators", "alice"));
            Assert.Equal(HttpStatusCode.Unauthorized, (await http.GetAsync("/api/v1/status")).StatusCode);
            Assert.Equal(1, (await server.CommandAsync("operator-token", "../x", "--data", server.Data)).Code);
        }
    }
}
