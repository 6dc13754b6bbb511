using Orleans.Runtime;

namespace Orleans
{
    /// <summary>Names a grain class. Without it the name is the class name in lower case without a final "grain".</summary>
    [AttributeUsage(AttributeTargets.Class)]
    public sealed class GrainTypeAttribute(string grainType) : Attribute
    {
        internal GrainType Value { get; } = GrainType.Create(grainType);
    }

    /// <summary>Activations of this class are not collected when idle.</summary>
    [AttributeUsage(AttributeTargets.Class)]
    public class KeepAliveAttribute : Attribute;

    /// <summary>How long a caller of this method waits for the answer, as a <see cref="TimeSpan"/> in text form.</summary>
    [AttributeUsage(AttributeTargets.Method)]
    public sealed class ResponseTimeoutAttribute(string timeout) : Attribute
    {
        public TimeSpan? Timeout { get; init; } = TimeSpan.Parse(timeout, System.Globalization.CultureInfo.InvariantCulture);
    }
}

namespace Orleans.Runtime
{
    /// <summary>Names a grain interface on the wire.</summary>
    [AttributeUsage(AttributeTargets.Interface)]
    public sealed class GrainInterfaceTypeAttribute(string value) : Attribute
    {
        internal string Value { get; } = value;
    }
}

namespace Orleans.Concurrency
{
    /// <summary>Calls of such methods may run side by side with each other. Goes on interface methods.</summary>
    [AttributeUsage(AttributeTargets.Method)]
    public sealed class ReadOnlyAttribute : Attribute;

    /// <summary>Calls of this method may run while any other call awaits. Goes on interface methods.</summary>
    [AttributeUsage(AttributeTargets.Method)]
    public sealed class AlwaysInterleaveAttribute : Attribute;

    /// <summary>The caller waits for no answer and learns of no failure. Goes on interface methods.</summary>
    [AttributeUsage(AttributeTargets.Method)]
    public sealed class OneWayAttribute : Attribute;

    /// <summary>All calls of a class may interleave at its awaits.</summary>
    [AttributeUsage(AttributeTargets.Class)]
    public sealed class ReentrantAttribute : Attribute;
}
