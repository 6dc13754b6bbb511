using Orleans;
using Orleans.Runtime;
using Pollux.Tests.Grains.Hosting;

namespace Pollux.Tests.Grains.Semantics;

[GrainInterfaceType("test.reminders"), Alias("test.IRemindersGrain")]
public interface IRemindersGrain : IGrainWithStringKey
{
    [Alias("Register")]
    Task RegisterAsync(string name, TimeSpan dueTime, TimeSpan period);

    /// <summary>Removes the reminder; false if there was none.</summary>
    [Alias("Unregister")]
    Task<bool> UnregisterAsync(string name);

    [Alias("Exists")]
    Task<bool> ExistsAsync(string name);
}

[GrainType("test.reminders")]
public sealed class RemindersGrain(Probe probe) : Grain, IRemindersGrain, IRemindable
{
    public Task RegisterAsync(string name, TimeSpan dueTime, TimeSpan period) => this.RegisterOrUpdateReminder(name, dueTime, period);

    public async Task<bool> UnregisterAsync(string name)
    {
        if (await this.GetReminder(name) is not { } reminder)
            return false;
        await this.UnregisterReminder(reminder);
        return true;
    }

    public async Task<bool> ExistsAsync(string name) => await this.GetReminder(name) is not null;

    public Task ReceiveReminder(string reminderName, TickStatus status)
    {
        probe.Write($"{this.GetPrimaryKeyString()} {reminderName} every {status.Period}");
        probe.Signal($"{this.GetPrimaryKeyString()} {reminderName}");
        return Task.CompletedTask;
    }
}
