using System.Net;
using System.Net.Http.Json;
using System.Text.Json;
using Pollux.HostProtocol;

namespace Pollux.Tests.Unit.Gateway;

/// <summary>Verify and the limits of resyncs by API and command line, down to what the primary's session is told.</summary>
public sealed class VerifyApiTests(RunningServer server) : IClassFixture<RunningServer>
{
    [Fact]
    public async Task An_order_reaches_the_primary_and_its_outcome_the_operator()
    {
        var (cluster, a, b) = await server.PairAsync();
        using (a)
        using (b)
        {
            await MirrorAsync(cluster, a, b);
            var key = $"{cluster}/web";
            var accepted = await server.CommandAsync("module", "verify", key, "--repair", "--limit", "2.5");
            Assert.Equal((0, ""), (accepted.Code, accepted.Error));
            var told = await a.ReceiveAsync<DesiredState>(state => state.Modules is [{ Verify: not null }]);
            var order = told.Modules[0].Verify!;
            Assert.Equal((a.Host, true, 2_500_000L, false), (order.Host, order.Repair, order.BytesPerSecondMax, order.Stop));

            await a.SendAsync(new ObservedState(told.Version, true, [Report(told.Modules[0], order.OperationId)]));
            var module = await SessionTests.UntilAsync(
                () => server.Http.GetFromJsonAsync<JsonElement>($"/api/v1/clusters/{cluster}/modules/web"),
                document => document.TryGetProperty("verify", out var verify) && verify.ValueKind == JsonValueKind.Object && verify.GetProperty("report").ValueKind == JsonValueKind.Object);
            var report = module.GetProperty("verify").GetProperty("report");
            Assert.Equal(("completed", 4096L), (report.GetProperty("state").GetString(), report.GetProperty("differentBytes").GetInt64()));
            Assert.Equal("a", module.GetProperty("verify").GetProperty("host").GetString());

            var shown = await server.CommandAsync("module", "show", key);
            Assert.Contains("/disk.img: 4096 bytes at 8192", shown.Output, StringComparison.Ordinal);
            Assert.Contains("4096 B and 1 entries differ", shown.Output, StringComparison.Ordinal);
            Assert.Contains("verify.copies-differ", shown.Output, StringComparison.Ordinal);

            Assert.Equal(0, (await server.CommandAsync("module", "verify", key, "--stop")).Code);
            await a.ReceiveAsync<DesiredState>(state => state.Modules is [{ Verify.Stop: true }]);
        }
    }

    [Fact]
    public async Task Limits_of_a_resync_reach_both_hosts_and_keep_what_is_not_named()
    {
        var (cluster, a, b) = await server.PairAsync();
        using (a)
        using (b)
        {
            await new SessionTests(server).CreateModuleAsync(cluster, a, b);
            Assert.Equal(0, (await server.CommandAsync("module", "resync-limits", $"{cluster}/web", "--max", "100")).Code);
            Assert.Equal(0, (await server.CommandAsync("module", "resync-limits", $"{cluster}/web", "--min", "20")).Code);
            var wanted = new ResyncLimitsMessage(20_000_000, 100_000_000);
            await a.ReceiveAsync<DesiredState>(state => state.Modules is [var module] && module.ResyncLimits == wanted);
            await b.ReceiveAsync<DesiredState>(state => state.Modules is [var module] && module.ResyncLimits == wanted);
            Assert.Contains("at most 100 MB/s", (await server.CommandAsync("module", "show", $"{cluster}/web")).Output, StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task What_cannot_be_done_is_a_problem_with_a_code()
    {
        var (cluster, a, b) = await server.PairAsync();
        using (a)
        using (b)
        {
            await new SessionTests(server).CreateModuleAsync(cluster, a, b);
            var path = $"/api/v1/clusters/{cluster}/modules/web";
            using var notRunning = await server.Http.PostAsJsonAsync($"{path}/verify", new { repair = false });
            Assert.Equal((HttpStatusCode.Conflict, "verify.not-running"), (notRunning.StatusCode, await RunningServer.CodeAsync(notRunning)));
            using var none = await server.Http.DeleteAsync($"{path}/verify");
            Assert.Equal((HttpStatusCode.Conflict, "verify.none"), (none.StatusCode, await RunningServer.CodeAsync(none)));
            using var limits = await server.Http.PutAsJsonAsync($"{path}/resync-limits", new { bytesPerSecondMin = 10, bytesPerSecondMax = 5 });
            Assert.Equal((HttpStatusCode.BadRequest, "resync.limits"), (limits.StatusCode, await RunningServer.CodeAsync(limits)));
            using var unknown = await server.Http.PostAsJsonAsync($"/api/v1/clusters/{cluster}/modules/nothing/verify", new { });
            Assert.Equal((HttpStatusCode.NotFound, "module.unknown"), (unknown.StatusCode, await RunningServer.CodeAsync(unknown)));
        }
    }

    [Theory]
    [InlineData("verify", "c/m", "--stop", "--repair")]
    [InlineData("verify", "c/m", "--limit", "-3")]
    [InlineData("resync-limits", "c/m", "--min", "fast")]
    public async Task Wrong_usage_ends_with_2(params string[] arguments) => Assert.Equal(2, (await server.CommandAsync(["module", .. arguments])).Code);

    private async Task MirrorAsync(string cluster, SessionClient a, SessionClient b)
    {
        var record = await new SessionTests(server).CreateModuleAsync(cluster, a, b);
        (await server.Http.PostAsync($"/api/v1/clusters/{cluster}/modules/web/start", null)).EnsureSuccessStatusCode();
        foreach (var change in (string[])["takeover", "join"])
        {
            await a.SendAsync(new ArbitrationRequest(Guid.NewGuid(), $"{cluster}/web", record.Incarnation, record.Epoch, change, a.Host, b.Host, null));
            var answer = await a.ReceiveAsync<ArbitrationAnswer>();
            Assert.Equal("granted", answer.Outcome);
            record = answer.Record!;
        }
    }

    private static ObservedModule Report(DesiredModule module, Guid operation) => SessionClient.Observe(module) with
    {
        Role = "PRIM",
        Problems = [new ObservedProblem("verify.copies-differ", "The copies differ", "i", "c", "a")],
        Verify = new ObservedVerify(
            operation, "completed", true, 1_000, 2_000, null, 2_500_000, 1 << 20, 1 << 20, 0, 4096, 0, 3, 3, 1, false, false,
            [new VerifyDifference("/disk.img", 8192, 4096, "content"), new VerifyDifference("/web.xml", null, null, "mode")], 0),
    };
}
