using Orleans;
using Orleans.Serialization;

namespace Pollux.EmbeddedHost.Runtime;

/// <summary>
/// Which exceptions reach a caller. As with Orleans, those of the base library and those with
/// <c>[GenerateSerializer]</c> do; any other would not survive a real wire, so the caller gets a
/// <see cref="CodecNotFoundException"/> that names it.
/// </summary>
internal static class CallFailure
{
    // The namespaces whose exceptions Orleans serializes without an attribute (ExceptionSerializationOptions).
    private static readonly string[] KnownNamespaces = ["System", "Microsoft", "Azure"];

    public static Exception ForCaller(Exception exception, EmbeddedRuntime runtime, string call)
    {
        for (var cause = exception; cause is not null; cause = cause.InnerException)
        {
            if (MayCross(cause.GetType()))
                continue;
            runtime.LogFailureWithoutCodec(exception, call);
            return new CodecNotFoundException(
                $"Could not find a codec for {cause.GetType()}, thrown in {call}: {exception.Message} Give the exception [GenerateSerializer].");
        }

        return exception;
    }

    public static bool MayCross(Type type) =>
        type.IsDefined(typeof(GenerateSerializerAttribute), inherit: false)
        || (type.Namespace is { } name && KnownNamespaces.Any(known => name == known || name.StartsWith(known + ".", StringComparison.Ordinal)));
}
