using System.Collections.Concurrent;
using Microsoft.Extensions.Logging;
using Orleans;
using Orleans.Runtime;
using Orleans.Timers;

namespace Pollux.EmbeddedHost.Runtime;

/// <summary>
/// Reminders: rows in the database, and for each a one-shot system timer that is armed again when its tick has been
/// answered. A row is durable before its timer is armed. Ticks that fall into a stop of the host are skipped.
/// </summary>
internal sealed class ReminderService(EmbeddedRuntime runtime, EmbeddedStore store) : IReminderRegistry
{
    // System timers wait for 49 days at most.
    private static readonly TimeSpan WaitMax = TimeSpan.FromDays(45);

    private readonly ConcurrentDictionary<(GrainId Grain, string Name), Scheduled> _scheduled = new();
    private volatile bool _stopped;

    private EmbeddedRuntime Runtime => runtime;

    public async Task StartAsync(CancellationToken cancellationToken)
    {
        foreach (var reminder in await store.ReadRemindersAsync())
        {
            if (runtime.Classes.Find(reminder.Grain.Type) is null)
                runtime.Logger.LogWarning("Reminder '{Name}' of {Grain} has no grain class any more; it does not tick.", reminder.Name, reminder.Grain);
            else
                Schedule(reminder, UntilNextTick(reminder));
        }

        cancellationToken.ThrowIfCancellationRequested();
    }

    public void Stop()
    {
        _stopped = true;
        foreach (var scheduled in _scheduled.Values)
            scheduled.Dispose();
    }

    public async Task<IGrainReminder> RegisterOrUpdateReminder(GrainId callingGrainId, string reminderName, TimeSpan dueTime, TimeSpan period)
    {
        if (dueTime < TimeSpan.Zero)
            throw new ArgumentOutOfRangeException(nameof(dueTime), dueTime, "The due time must not be negative or infinite.");
        if (period < runtime.Options.ReminderPeriodMin)
            throw new ArgumentException($"The period {period} of reminder '{reminderName}' is less than {runtime.Options.ReminderPeriodMin}.", nameof(period));
        if (dueTime > WaitMax || period > WaitMax)
            throw new ArgumentOutOfRangeException(nameof(dueTime), $"Reminder '{reminderName}' waits longer than {WaitMax}.");
        var reminder = new StoredReminder(callingGrainId, reminderName, runtime.Time.GetUtcNow().UtcDateTime + dueTime, period);
        await store.PutReminderAsync(reminder);
        Schedule(reminder, dueTime);
        return new GrainReminder(reminderName);
    }

    public async Task UnregisterReminder(GrainId callingGrainId, IGrainReminder reminder)
    {
        await store.DeleteReminderAsync(callingGrainId, reminder.ReminderName);
        if (_scheduled.TryRemove((callingGrainId, reminder.ReminderName), out var scheduled))
            scheduled.Dispose();
    }

    public Task<IGrainReminder?> GetReminder(GrainId callingGrainId, string reminderName) =>
        Task.FromResult<IGrainReminder?>(_scheduled.ContainsKey((callingGrainId, reminderName)) ? new GrainReminder(reminderName) : null);

    public Task<List<IGrainReminder>> GetReminders(GrainId callingGrainId) =>
        Task.FromResult(_scheduled.Keys.Where(key => key.Grain == callingGrainId).Select(IGrainReminder (key) => new GrainReminder(key.Name)).ToList());

    private void Schedule(StoredReminder reminder, TimeSpan wait)
    {
        var scheduled = new Scheduled(this, reminder);
        if (_scheduled.TryRemove((reminder.Grain, reminder.Name), out var previous))
            previous.Dispose();
        _scheduled[(reminder.Grain, reminder.Name)] = scheduled;
        Arm(scheduled, wait);
    }

    private void Arm(Scheduled scheduled, TimeSpan wait)
    {
        if (!_stopped)
            scheduled.Timer.Change(wait < TimeSpan.Zero ? TimeSpan.Zero : wait, Timeout.InfiniteTimeSpan);
    }

    // The first tick if it is to come, or else the next multiple of the period after now.
    private TimeSpan UntilNextTick(StoredReminder reminder)
    {
        var sinceFirst = runtime.Time.GetUtcNow().UtcDateTime - reminder.FirstTick;
        return sinceFirst < TimeSpan.Zero ? -sinceFirst : TimeSpan.FromTicks(reminder.Period.Ticks - (sinceFirst.Ticks % reminder.Period.Ticks));
    }

    private async Task TickAsync(Scheduled scheduled)
    {
        var reminder = scheduled.Reminder;
        try
        {
            var grain = (IRemindable)runtime.References.Create(typeof(IRemindable), reminder.Grain);
            await grain.ReceiveReminder(reminder.Name, new TickStatus(reminder.FirstTick, reminder.Period, runtime.Time.GetUtcNow().UtcDateTime));
        }
        catch (Exception exception)
        {
            // The next tick tries again: reminders are how grains recover.
            runtime.Logger.LogWarning(exception, "A tick of reminder '{Name}' of {Grain} failed.", reminder.Name, reminder.Grain);
        }

        Arm(scheduled, UntilNextTick(reminder));
    }

    private sealed record GrainReminder(string ReminderName) : IGrainReminder;

    private sealed class Scheduled : IDisposable
    {
        public Scheduled(ReminderService owner, StoredReminder reminder)
        {
            Reminder = reminder;
            using (CleanFlow.Enter())
            {
                Timer = owner.Runtime.Time.CreateTimer(
                    static state =>
                    {
                        var (owner, scheduled) = ((ReminderService, Scheduled))state!;
                        _ = owner.TickAsync(scheduled);
                    },
                    (owner, this),
                    Timeout.InfiniteTimeSpan,
                    Timeout.InfiniteTimeSpan);
            }
        }

        public StoredReminder Reminder { get; }

        public ITimer Timer { get; }

        public void Dispose() => Timer.Dispose();
    }
}
