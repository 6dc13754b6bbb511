using System.Linq.Expressions;
using System.Reflection;
using Pollux.DataPlane.Core.Roles;
using ArbiterRequest = Pollux.DataPlane.Core.Roles.ArbiterRequest;

namespace Pollux.Tests.Simulation.Exhaustive;

/// <summary>Copies a <see cref="RoleMachine"/> and writes its state, by its fields: none can be forgotten, because one of a kind that is
/// not known here ends the program at its first use.</summary>
internal static class MachineImage
{
    /// <summary>What decides nothing, and why.</summary>
    private static readonly Dictionary<string, string> Left = new()
    {
        ["effects"] = "belongs to the caller of a step",
        ["nowMs"] = "every time is written relative to the pair's clock, and a step sets it",
        ["dueMs"] = "set by each step",
        ["timings"] = "a constant",
        ["self"] = "a constant",
        ["peer"] = "a constant",
        ["<View>k__BackingField"] = "made from the rest by each step before it is used",
        ["<NextDeadlineMs>k__BackingField"] = "the checker feeds a tick with each step of time",
        ["beaconSequence"] = "written as the sending times of the beacons and answers that are under way",
        ["sentMs"] = "the same",
        ["cause"] = "words",
        ["savesEmitted"] = "written as the list of what is handed out and not stored",
        ["savesDone"] = "the same",
    };

    /// <summary>Times that the machine looks back to for less than twice the detection time, and for how many steps: it compares them with
    /// the lease and the margin, with shorter times, or with each other while they are that young.</summary>
    private static readonly Dictionary<string, int> StepsBack = new()
    {
        ["answeredMs"] = 3, // lease + margin
        ["lookSentMs"] = 3, // a fresh look: two seconds
        ["lookAnsweredMs"] = 3,
        ["openSentMs"] = 3, // two deadlines of the arbiter
        ["lastAnsweredBeaconSentMs"] = 3, // the time to degrade; compared with looks
        ["attachedMs"] = 3,
        ["caughtUpMs"] = 3,
        ["startMs"] = 5, // the detection time
        ["primaryAliveMs"] = 5,
        ["peerSeenMs"] = 5,
        ["peerStoppedSinceMs"] = 5,
        ["thawedMs"] = 5,
        ["runChangedMs"] = 6, // the detection time and the grace of a stop
    };

    /// <summary>Kinds that never change once made, so that copies may share them.</summary>
    private static readonly HashSet<Type> Shared =
    [
        typeof(string), typeof(RoleConfiguration), typeof(RoleTimings), typeof(AuthorityRecord), typeof(LocalState), typeof(ArbiterRequest),
        typeof(Beacon), typeof(RoleProblem), typeof(RoleView), typeof(List<RoleEffect>),
    ];

    private static readonly Func<object, object> ShallowCopy =
        typeof(object).GetMethod("MemberwiseClone", BindingFlags.Instance | BindingFlags.NonPublic)!.CreateDelegate<Func<object, object>>();

    private static readonly FieldInfo[] Fields =
        typeof(RoleMachine).GetFields(BindingFlags.Instance | BindingFlags.Public | BindingFlags.NonPublic);

    private static readonly (FieldInfo Field, Func<object, object> Copy)[] Owned = [.. Fields.Where(IsOwned).Select(field => (field, Copier(field)))];

    private static readonly Action<RoleMachine, CanonicalWriter> Writer = MakeWriter();

    public static RoleMachine Copy(RoleMachine machine)
    {
        var copy = (RoleMachine)ShallowCopy(machine);
        foreach (var (field, duplicate) in Owned)
            field.SetValue(copy, duplicate(field.GetValue(machine)!));
        return copy;
    }

    public static void Write(RoleMachine machine, CanonicalWriter to) => Writer(machine, to);

    private static bool IsOwned(FieldInfo field) => !field.FieldType.IsValueType && !Shared.Contains(field.FieldType);

    private static Func<object, object> Copier(FieldInfo field)
    {
        if (field.FieldType == typeof(long[]))
            return value => ((long[])value).Clone();
        if (field.FieldType == typeof(List<long>))
            return value => new List<long>((List<long>)value);
        if (field.FieldType == typeof(Queue<Guid>))
            return value => new Queue<Guid>((Queue<Guid>)value);
        throw Unknown(field);
    }

    private static Action<RoleMachine, CanonicalWriter> MakeWriter()
    {
        var machine = Expression.Parameter(typeof(RoleMachine));
        var to = Expression.Parameter(typeof(CanonicalWriter));
        var calls = Fields.Where(field => !Left.ContainsKey(field.Name)).OrderBy(field => field.Name, StringComparer.Ordinal)
            .Select(field => WriteField(field, Expression.Field(machine, field), to));
        return Expression.Lambda<Action<RoleMachine, CanonicalWriter>>(Expression.Block(calls), machine, to).Compile();
    }

    private static MethodCallExpression WriteField(FieldInfo field, Expression value, ParameterExpression to)
    {
        var type = field.FieldType;
        if (type == typeof(RoleConfiguration))
            return Call(nameof(CanonicalWriter.Name), Expression.Property(value, nameof(RoleConfiguration.Incarnation)));
        if (type == typeof(bool))
            return Call(nameof(CanonicalWriter.Flag), value);
        if (type.IsEnum)
            return Call(nameof(CanonicalWriter.Number), Expression.Convert(Expression.Convert(value, typeof(int)), typeof(long)));
        if (type == typeof(long) && field.Name.EndsWith("Ms", StringComparison.Ordinal))
            return Call(nameof(CanonicalWriter.Time), value, Expression.Constant(LookBackMs(field.Name)));
        if (type == typeof(long?) && field.Name.EndsWith("Ms", StringComparison.Ordinal))
            return Call(nameof(CanonicalWriter.TimeOrNone), value, Expression.Constant(LookBackMs(field.Name)));
        if (type == typeof(long) && field.Name.EndsWith("Epoch", StringComparison.Ordinal))
            return Call(nameof(CanonicalWriter.Epoch), value);
        if (type == typeof(Guid))
            return Call(nameof(CanonicalWriter.Name), value);
        if (type == typeof(Guid?))
            return Call(nameof(CanonicalWriter.NameOrNone), value);
        if (type == typeof(string))
            return Call(nameof(CanonicalWriter.Present), value);
        if (type == typeof(AuthorityRecord))
            return Call(nameof(CanonicalWriter.Record), value);
        if (type == typeof(LocalState))
            return Call(nameof(CanonicalWriter.State), value);
        if (type == typeof(ArbiterRequest))
            return Call(nameof(CanonicalWriter.Request), value);
        if (type == typeof(Beacon))
            return Call(nameof(CanonicalWriter.Beacon), value);
        if (type == typeof(RoleProblem))
            return Call(nameof(CanonicalWriter.Problem), value);
        if (type == typeof((Role, AuthorityRecord, bool)))
            return Call(nameof(CanonicalWriter.Shown), value);
        if (type == typeof(List<long>) || type == typeof(Queue<Guid>))
            return Call(nameof(CanonicalWriter.Number), Expression.Convert(Expression.Property(value, "Count"), typeof(long)));
        throw Unknown(field);

        MethodCallExpression Call(string method, params Expression[] arguments) =>
            Expression.Call(to, typeof(CanonicalWriter).GetMethod(method, [.. arguments.Select(argument => argument.Type)])!, arguments);
    }

    /// <summary>How long ago a time has to be until it is all the same. A deadline is compared with the present only.</summary>
    private static long LookBackMs(string name)
    {
        if (name.EndsWith("UntilMs", StringComparison.Ordinal) || name.EndsWith("NotBeforeMs", StringComparison.Ordinal)
            || name.EndsWith("AgainMs", StringComparison.Ordinal) || name is "nextBeaconMs" or "leaseEmittedMs")
            return 0;
        return StepsBack.TryGetValue(name, out var steps) ? steps * Pair.StepMs : 2 * Pair.DetectionMs + Pair.StepMs;
    }

    private static InvalidOperationException Unknown(FieldInfo field) =>
        new($"The checker does not know how to copy and write RoleMachine.{field.Name} ({field.FieldType}): add its kind to {nameof(MachineImage)}.");
}
