using Pollux.Tests.Grains.Hosting;

namespace Pollux.Tests.Grains.Semantics;

public sealed class ReminderTests(SemanticsHost host) : IClassFixture<SemanticsHost>
{
    private static readonly TimeSpan Minute = TimeSpan.FromMinutes(1);

    [Fact]
    public async Task A_reminder_wakes_its_grain_when_it_is_due()
    {
        var key = SemanticsHost.NewKey();
        await host.Grains.GetGrain<IRemindersGrain>(key).RegisterAsync("wake", TimeSpan.FromMilliseconds(50), Minute);
        await host.Probe.WaitAsync($"{key} wake");
        Assert.Contains($"{key} wake every 00:01:00", host.Probe.Log);
    }

    [Fact]
    public async Task A_period_under_one_minute_is_refused()
    {
        var grain = host.Grains.GetGrain<IRemindersGrain>(SemanticsHost.NewKey());
        await Assert.ThrowsAsync<ArgumentException>(() => grain.RegisterAsync("hasty", TimeSpan.Zero, TimeSpan.FromSeconds(59)));
        Assert.False(await grain.ExistsAsync("hasty"));
    }

    [Fact]
    public async Task An_unregistered_reminder_is_gone()
    {
        var grain = host.Grains.GetGrain<IRemindersGrain>(SemanticsHost.NewKey());
        await grain.RegisterAsync("gone", Minute, Minute);
        Assert.True(await grain.ExistsAsync("gone"));
        Assert.True(await grain.UnregisterAsync("gone"));
        Assert.False(await grain.ExistsAsync("gone"));
        Assert.False(await grain.UnregisterAsync("gone"));
    }

    [DurableRemindersFact]
    public async Task A_reminder_survives_a_restart_of_the_host()
    {
        var server = HostUnderTest.HasDurableRemindersOnSqlite ? null : await PostgreSql.ServerAsync();
        await using var own = await OwnHost.StartAsync(new Probe(), options => options.PostgreSql = server);
        await own.Grains.GetGrain<IRemindersGrain>("kept").RegisterAsync("later", TimeSpan.FromHours(1), Minute);
        await own.RestartAsync();
        Assert.True(await own.Grains.GetGrain<IRemindersGrain>("kept").ExistsAsync("later"));
    }
}
